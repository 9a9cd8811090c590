"""Algorithm 1 of Shokri et al. 2017, one climb at a time, in plain Python; shares no code with the package."""

from __future__ import annotations

import math

GOLDEN, MASK = 0x9E3779B97F4A7C15, 2**64 - 1


def mixed(word):
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


class Stream:
    """The random numbers of one climb."""

    def __init__(self, seed, klass, attempt):
        root = mixed((seed + GOLDEN) & MASK)
        self.key = mixed((mixed((root + (klass + 1) * GOLDEN) & MASK) + (attempt + 1) * GOLDEN) & MASK)

    def uniform(self, step, place):
        base = mixed((self.key + (step + 1) * GOLDEN) & MASK)
        return (mixed((base + (place + 1) * GOLDEN) & MASK) >> 11) * 2.0**-53


def any_value(feature, u):
    """``feature``: ("binary",), ("whole", low, high) or ("real", low, high)."""
    kind, low, high = feature if len(feature) == 3 else ("whole", 0, 1)
    if kind == "whole":
        return min(low + math.floor(u * (high - low + 1)), high)
    return min(low + u * (high - low), high)


def climb(ask, klass, features, options, stream):
    """Return (record, confidence, queries), the first two None for a failed climb. ``ask`` answers one record."""
    width = len(features)
    x = [any_value(feature, stream.uniform(0, place)) for place, feature in enumerate(features)]
    best_x, best, rejected, k = list(x), 0.0, 0, min(options.k_max, width)
    for step in range(1, options.iter_max + 1):
        y = ask(x)
        if y[klass] >= best if options.accept == ">=" else y[klass] > best:
            if y[klass] > options.conf_min and max(range(len(y)), key=lambda c: y[c]) == klass:
                chance = y[klass] if options.select == "current" else best
                if stream.uniform(step, 0) < chance:
                    return x, y[klass], step
            best_x, best, rejected = list(x), y[klass], 0
        else:
            rejected += 1
            limit = options.rej_max + 1 if options.halve == "after" else max(options.rej_max, 1)
            if rejected >= limit:
                k, rejected = max(min(options.k_min, width), math.ceil(k / 2)), 0
        x = list(best_x)
        chosen = []
        for i in range(k):  # Floyd's sample of k different features
            last = width - k + i
            t = math.floor(stream.uniform(step, 1 + i) * (last + 1))
            chosen.append(last if t in chosen else t)
        for i, place in enumerate(chosen):
            if features[place] == ("binary",):
                x[place] = 1 - x[place]
            else:
                x[place] = any_value(features[place], stream.uniform(step, 1 + width + i))
    return None, None, options.iter_max


def synthesize(ask, wanted, features, options, seed):
    """Return per class ([(attempt, record, confidence, queries), ...], queries of failed climbs, failures)."""
    found = []
    for klass, count in enumerate(wanted):
        made, spent, failures, attempt = [], 0, 0, 0
        while len(made) < count and failures < (
            options.give_up if made else min(options.give_up, options.give_up_first)
        ):
            record, confidence, queries = climb(ask, klass, features, options, Stream(seed, klass, attempt))
            if record is None:
                failures, spent = failures + 1, spent + queries
            else:
                made.append((attempt, record, confidence, queries))
            attempt += 1
        found.append((made, spent, failures))
    return found
