"""DP-SGD: noise and clipping do what they say, epsilon is the accountant's, and what is outside of it is said."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from miaudit.errors import PlanError
from miaudit.mitigations import DPSGD, Bagging, LabelSmoothing
from miaudit.mitigations.private import privacy_of
from miaudit.recipes import EstimatorRecipe, ModuleRecipe, Network
from miaudit.threads import one_thread

pytest.importorskip("opacus")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # Opacus and torch warn of each other

rng = np.random.default_rng(2)
Y = rng.integers(0, 3, 120)
X = (2 * np.eye(3)[Y] @ rng.normal(size=(3, 5)) + rng.normal(size=(120, 5))).astype(np.float32)
NET = Network(hidden=(8,), epochs=20, batch=20, optimizer="sgd", learning_rate=0.5, standardize=False)


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def accuracy(recipe, seed=0):
    return (recipe.fit(X, Y, classes=3, seed=seed).predict_proba(X).argmax(axis=1) == Y).mean()


def test_little_noise_learns_and_much_noise_does_not():
    little, much = DPSGD(noise=0.01, clip=1.0).of(NET), DPSGD(noise=100.0, clip=1.0).of(NET)
    assert accuracy(little) > 0.85
    assert accuracy(much) < accuracy(little) - 0.2


def test_it_is_deterministic_and_named_by_its_options():
    recipe = DPSGD(noise=0.5).of(NET)
    one, again = (recipe.fit(X, Y, classes=3, seed=4).predict_proba(X) for _ in range(2))
    assert (one == again).all()
    assert (one != recipe.fit(X, Y, classes=3, seed=5).predict_proba(X)).any()
    assert recipe.describe() != DPSGD(noise=0.6).of(NET).describe()


def test_without_clipping_and_noise_it_is_plain_descent():
    """One batch of all records, no noise and no clipping: torch's own SGD from the same first weights."""
    net = Network(hidden=(4,), epochs=3, batch=120, optimizer="sgd", learning_rate=0.3, standardize=False)
    private = DPSGD(noise=1e-9, clip=1e6).of(net).fit(X, Y, classes=3, seed=1)
    plain = net.fit(X, Y, classes=3, seed=1)
    assert np.allclose(private.predict_proba(X), plain.predict_proba(X), atol=5e-3)


def test_epsilon_is_that_of_the_accountant(forest_case):
    from dataclasses import replace

    from opacus.accountants import RDPAccountant

    case = replace(forest_case, recipe=replace(NET, standardize=True))
    privacy = privacy_of((DPSGD(noise=1.2, delta=1e-4),), case)
    accountant = RDPAccountant()
    for _ in range(20 * 6):
        accountant.step(noise_multiplier=1.2, sample_rate=20 / 120)
    assert privacy.epsilon == pytest.approx(accountant.get_epsilon(1e-4))
    assert "means and scales" in privacy.note
    assert privacy_of((DPSGD(noise=1.2), Bagging()), case) is None  # several trainings are not one
    assert privacy_of((LabelSmoothing(),), case) is None


def test_what_cannot_be_private_is_refused():
    with pytest.raises(PlanError, match="no torch network"):
        DPSGD().of(EstimatorRecipe(GaussianNB()))
    with pytest.raises(PlanError, match="learning_rate"):
        DPSGD().of(Network())  # Adam
    with pytest.raises(PlanError, match="BatchNorm"):
        DPSGD().of(ModuleRecipe(normalised)).fit(X, Y, classes=3, seed=0)
    with pytest.raises(PlanError):
        DPSGD(noise=-1)


def normalised():
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))


def test_images_and_modules_are_trained_too():
    images = rng.normal(size=(30, 12, 12)).astype(np.float32)
    net = Network(
        kind="cnn", channels=(2,), kernel=3, hidden=(4,), epochs=1, batch=10, optimizer="sgd", learning_rate=0.1
    )
    model = DPSGD(noise=0.1).of(net).fit(images, Y[:30], classes=3, seed=0)
    plain = net.module((1, 12, 12), 3, seed=0)
    for parameter, tensor in zip(plain.parameters(), model.tensors, strict=True):
        parameter.data.copy_(torch.from_numpy(tensor))
    shown = (images[:, None] - model.mean[0]) / model.scale[0]
    expected = torch.softmax(plain(torch.from_numpy(shown.astype(np.float32))), 1).detach().numpy()
    assert np.allclose(model.predict_proba(images), expected, atol=1e-5)
    assert DPSGD(noise=0.1, epochs=1).of(ModuleRecipe(plain_module)).fit(X, Y, classes=3, seed=0) is not None


def plain_module():
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
