"""A study small enough for tests: one trial, two epochs, eight prunings."""

import pytest

from shrinkscope.experiments.config import Study, Training


@pytest.fixture(scope="session")
def tiny() -> Study:
    training = Training(epochs=2, batch_size=128, learning_rate=0.1, weight_decay=5e-3)
    return Study(
        name="tiny",
        training=training,
        finetuning=training,
        trials=1,
        methods=("lowest", "random"),
        levels=(0.3, 0.8),
        scopes=("last", "all"),
        dense_reference="last",
        latents=("gaussian", "student_t_grouped"),
        curvature_samples=0,  # nine tenths of the time; tests that are about it say otherwise
    )
