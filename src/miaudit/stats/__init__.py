"""Statistics over two arrays of scores: ``in_scores`` of members, ``out_scores`` of non-members, higher = member.

Nothing here knows about models, attacks or plots. Every interval and bound is calibrated in the tests, by a finite sum
or by simulation; docs/statistics.md says which one holds when.
"""

from miaudit.stats.accusations import FALSE_DISCOVERY_RATE, Accusations, accuse, benjamini_hochberg, conformal_p_values
from miaudit.stats.agreement import Coverage, coverage, places, rank_correlations, spearman
from miaudit.stats.answers import Histograms, histograms, true_class, uncertainty
from miaudit.stats.auc import Interval, Spread, auc, auc_interval, auc_score_interval, auc_spread
from miaudit.stats.binormal import Binormal, binormal
from miaudit.stats.by_class import Distribution, Undefined, distribution, percentiles
from miaudit.stats.claims import Claims, Corrected, Levels, claims, levels
from miaudit.stats.epsilon import epsilon_ceiling, epsilon_credible, epsilon_from_rates, mu_from_rates
from miaudit.stats.equivalence import auc_size, guesses_size, tpr_size
from miaudit.stats.gaussian import delta_from_mu, epsilon_from_mu, mu_from_epsilon, tpr_ceiling_dp, tpr_ceiling_gdp
from miaudit.stats.groups import GroupLeak, by_group
from miaudit.stats.mixture import mixture_share
from miaudit.stats.one_run import Guesses, epsilon_one_run, epsilon_one_run_fdp, mu_one_run_fdp, one_run_guesses
from miaudit.stats.paired import AreaDifference, Excess, auc_difference, auc_excess, more_above, unpaired_difference
from miaudit.stats.people import (
    PersonScores,
    copies,
    cut_by_person,
    equal_counts,
    numbered,
    on_both_sides,
    person_scores,
)
from miaudit.stats.power import Detectable, detectable_auc, detectable_tpr
from miaudit.stats.ppv import Ppv, ppv
from miaudit.stats.precedence import (
    Precedence,
    critical_count,
    detectable_exposed,
    detectable_share,
    precedence,
    ranks_of,
)
from miaudit.stats.ranks import Nameable, RankCounts, nameable, rank_counts, tpr_ends
from miaudit.stats.rates import Decisions, Rate, clopper_pearson, decisions, rate
from miaudit.stats.roc import Roc, TnrAtFnr, TprAtFpr, roc, tnr_at_fnr, tpr_at_fpr
from miaudit.stats.thresholds import (
    Bonferroni,
    Certified,
    Explicit,
    OperatingPoint,
    Split,
    Strategy,
    TprAtZeroFp,
    certify,
    tpr_at_zero_fp,
)
from miaudit.stats.utility import accuracy_difference, calibration_error

__all__ = [
    "FALSE_DISCOVERY_RATE",
    "Accusations",
    "AreaDifference",
    "Binormal",
    "Bonferroni",
    "Certified",
    "Claims",
    "Corrected",
    "Coverage",
    "Decisions",
    "Detectable",
    "Distribution",
    "Excess",
    "Explicit",
    "GroupLeak",
    "Guesses",
    "Histograms",
    "Interval",
    "Levels",
    "Nameable",
    "OperatingPoint",
    "PersonScores",
    "Ppv",
    "Precedence",
    "RankCounts",
    "Rate",
    "Roc",
    "Split",
    "Spread",
    "Strategy",
    "TnrAtFnr",
    "TprAtFpr",
    "TprAtZeroFp",
    "Undefined",
    "accuracy_difference",
    "accuse",
    "auc",
    "auc_difference",
    "auc_excess",
    "auc_interval",
    "auc_score_interval",
    "auc_size",
    "auc_spread",
    "benjamini_hochberg",
    "binormal",
    "by_group",
    "calibration_error",
    "certify",
    "claims",
    "clopper_pearson",
    "conformal_p_values",
    "copies",
    "coverage",
    "critical_count",
    "cut_by_person",
    "decisions",
    "delta_from_mu",
    "detectable_auc",
    "detectable_exposed",
    "detectable_share",
    "detectable_tpr",
    "distribution",
    "epsilon_ceiling",
    "epsilon_credible",
    "epsilon_from_mu",
    "epsilon_from_rates",
    "epsilon_one_run",
    "epsilon_one_run_fdp",
    "equal_counts",
    "guesses_size",
    "histograms",
    "levels",
    "mixture_share",
    "more_above",
    "mu_from_epsilon",
    "mu_from_rates",
    "mu_one_run_fdp",
    "nameable",
    "numbered",
    "on_both_sides",
    "one_run_guesses",
    "percentiles",
    "person_scores",
    "places",
    "ppv",
    "precedence",
    "rank_correlations",
    "rank_counts",
    "ranks_of",
    "rate",
    "roc",
    "spearman",
    "tnr_at_fnr",
    "tpr_at_fpr",
    "tpr_at_zero_fp",
    "tpr_ceiling_dp",
    "tpr_ceiling_gdp",
    "tpr_ends",
    "tpr_size",
    "true_class",
    "uncertainty",
    "unpaired_difference",
]
