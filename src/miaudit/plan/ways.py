"""Ways that several errors advise."""

WITHOUT_POPULATION = (
    'Without a population there are three ways: leave design out, or set it to "overlapping", and shadow models are trained '
    "on random halves of the audited records; set holdout = 0.3, and that share of the non-members is set apart as population; "
    'or, in a plan, set data of shadows to "synthetic:model-based", which makes records from the answers of the target '
    "(docs/synthesis.md)"
)
"""What to do where further records for shadow models are missing; keys have the same names in a plan and in Python."""
