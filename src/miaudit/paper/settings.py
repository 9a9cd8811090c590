"""Settings: one target of the paper each, with its data, its shadow models and what was chosen where the paper is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from miaudit.mitigations import LabelOnly, OutputMitigation, Rounding, Temperature, TopK

Scale = Literal["quick", "paper"]
QUICK_MEMBERS, QUICK_SHADOWS = 2_000, 4
"""At most so many members and shadow models in the quick scale, which says how a row goes and not what it gives."""


@dataclass(frozen=True)
class Setting:
    """One target, as the plan of an audit has it.

    Parameters
    ----------
    name
        Unique; rows of tables and figures name it.
    data
        "purchase", or a named data set.
    recipe
        A plan's section ``[recipe]``: how target and shadow models are trained.
    members, shadows
        Of the paper: records in a training set, of which test sets have as many, and number of shadow models.
    classes
        Of purchases: into how many clusters they are parted.
    shadow_data, synthesis
        Further keys of a plan's sections ``[shadows]`` and ``[synthesis]``.
    options
        Options of the named data set.
    mitigation
        What changes the answers of the target, and of shadow models alike.
    minutes
        Minutes of a processor's core that one seed takes at the paper's scale, about.
    base
        Name of the setting whose models it shares; its own, unless only the mitigation differs.
    """

    name: str
    data: str
    recipe: Mapping[str, Any]
    members: int
    shadows: int
    classes: int | None = None
    shadow_data: Mapping[str, Any] = field(default_factory=dict)
    synthesis: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    mitigation: OutputMitigation | None = None
    minutes: float = 1.0
    base: str = ""

    @property
    def models(self) -> str:
        """Name of the setting under which its models are kept."""
        return self.base or self.name

    def sized(self, scale: Scale, shadows: int | None = None) -> Setting:
        """Return it at a scale, with so many shadow models unless None."""
        members = min(self.members, QUICK_MEMBERS) if scale == "quick" else self.members
        count = min(self.shadows, QUICK_SHADOWS) if scale == "quick" else self.shadows
        return replace(self, members=members, shadows=shadows or count)

    def plan(self, data: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
        """Return the plan of its audit, with the 2017 attack alone beside the floors.

        No record is set aside from the shadow models: where there are few, all of them would deal the same ones.
        """
        return {
            "title": self.name,
            "seed": seed,
            "data": dict(data),
            "split": {"members": self.members, "nonmembers": self.members, "outside": 0},
            "recipe": dict(self.recipe),
            "shadows": {"count": self.shadows, **self.shadow_data},
            "synthesis": dict(self.synthesis),
            "attacks": ["shokri"],
        }


def _network(preset: str, **options: Any) -> dict[str, Any]:
    return {"network": {"preset": preset, **options}}


GOOGLE: dict[str, Any] = {"standin": "google-like"}


def _amazon(passes: int, l2: float) -> dict[str, Any]:
    return {"standin": "amazon-like", "params": {"passes": passes, "l2": l2}}


def _purchase(name: str, recipe: Mapping[str, Any], *, classes: int = 100, **options: Any) -> Setting:
    options = {"shadows": 20, "minutes": 3, **options}
    return Setting(f"purchase-{classes}/{name}", "purchase", recipe, 10_000, classes=classes, **options)


def _location(name: str, **options: Any) -> Setting:
    return Setting(f"location/{name}", "location30", _network("purchase", epochs=70), 1_200, 60, **options)


_OUTPUT: dict[str, OutputMitigation] = {
    "top-3": TopK(3),
    "top-1": TopK(1),
    "label": LabelOnly(),
    "round-3": Rounding(3),
    "round-1": Rounding(1),
    "temperature-5": Temperature(5.0),
    "temperature-20": Temperature(20.0),
}


def _mitigated(of: Setting) -> list[Setting]:
    """Return a setting behind every output mitigation of Table III: nothing more is trained."""
    return [
        replace(of, name=f"{of.name}/{name}", mitigation=mitigation, base=of.name, minutes=0.5)
        for name, mitigation in _OUTPUT.items()
    ]


_PURCHASE_256 = _purchase("network-256", _network("purchase-256", epochs=60), minutes=8)
_HOSPITAL = Setting(
    "hospital/network-1000",
    "diabetes130",
    _network("texas-1000", epochs=100),
    10_000,
    10,
    options={"stays": "first"},
    minutes=9,
)


def _l2(of: Setting, *strengths: float) -> list[Setting]:
    network = of.recipe["network"]
    return [
        replace(of, name=f"{of.name}/l2-{value:g}", recipe={"network": {**network, "l2": value}}) for value in strengths
    ]


SETTINGS: dict[str, Setting] = {
    each.name: each
    for each in (
        Setting("adult/amazon-10", "adult", _amazon(10, 1e-6), 10_000, 20, minutes=2),
        Setting("mnist/network", "mnist", _network("purchase", epochs=30), 10_000, 50, minutes=6),
        _location("network", minutes=1),
        *(
            _location(
                f"network/noise-{round(100 * rate)}",
                shadow_data={"data": "synthetic:noisy"},
                synthesis={"rate": rate, "noise": "replace"},
                minutes=1,
            )
            for rate in (0.1, 0.2)
        ),
        *(_purchase("network", _network("purchase", epochs=60), classes=k) for k in (2, 10, 20, 50, 100)),
        _purchase("network-short", _network("purchase", epochs=15), minutes=1),
        _purchase("google-like", GOOGLE, minutes=40),
        _purchase("amazon-10", _amazon(10, 1e-6), minutes=3),
        _purchase("amazon-100", _amazon(100, 1e-4), minutes=20),
        _purchase(
            "network/marginals",
            _network("purchase", epochs=60),
            shadow_data={"data": "synthetic:marginals"},
            synthesis={"records": 187_300},
            minutes=5,
        ),
        _purchase(
            "network/model-based",
            _network("purchase", epochs=60),
            shadows=8,
            shadow_data={"data": "synthetic:model-based"},
            synthesis={"records": 30_000},
        ),
        _PURCHASE_256,
        *_mitigated(_PURCHASE_256),
        *_l2(_PURCHASE_256, 1e-4, 1e-3, 1e-2),
        Setting(
            "hospital/forest",
            "diabetes130",
            {"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 30}},
            10_000,
            10,
            options={"stays": "first"},
            minutes=1,
        ),
        _HOSPITAL,
        *_mitigated(_HOSPITAL),
        *_l2(_HOSPITAL, 1e-4, 5e-4, 1e-3, 5e-3),
        *(
            Setting(f"cifar10-{n}/network", "cifar10", _network("cifar", epochs=40), n, 100, minutes=n / 25)
            for n in (2_500, 5_000)
        ),
    )
}
"""Every target that can be trained with the data at hand, by name."""
