"""The plan of a small audit of a forest on the digits."""

PLAN = {
    "seed": 5,
    "data": {"name": "digits"},
    "split": {"members": 120, "nonmembers": 120},
    "recipe": {"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 10}},
    "shadows": {"count": 6},
    "attacks": ["shokri", "attack-r", "rmia"],
}
