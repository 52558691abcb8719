"""People: the same from the same seed, of many tones and hair colours, within the model's limits."""

import numpy as np

from facefill.synthetic.attributes import NAMES, attributes_of
from facefill.synthetic.people import IDENTITY_LIMIT, sample_person
from facefill.synthetic.scene import Scene


def test_a_seed_is_a_person() -> None:
    first, again, other = sample_person(3), sample_person(3), sample_person(4)
    assert np.array_equal(first.identity, again.identity)
    assert first.hair == again.hair
    assert not np.array_equal(first.identity, other.identity)


def test_a_crowd_is_diverse_and_plausible() -> None:
    crowd = [sample_person(seed) for seed in range(300)]
    brightness = np.array([person.tone.mean() for person in crowd])
    assert brightness.min() < 0.3 and brightness.max() > 0.75
    assert all(person.tone[0] > person.tone[1] > person.tone[2] for person in crowd), "skin is warm"
    assert 0.35 < np.mean([person.male for person in crowd]) < 0.65
    assert all(person.beard == 0 for person in crowd if not person.male)
    assert max(np.abs(person.identity).max() for person in crowd) <= np.float32(IDENTITY_LIMIT)
    assert len({person.hair.name for person in crowd}) >= 10
    assert np.mean([person.hair_colour.mean() for person in crowd if person.darkness > 0.6]) < 0.25


def test_attributes_are_forty_signs_that_agree_with_the_person(scene: Scene) -> None:
    for seed in range(20):
        person = sample_person(seed)
        values = dict(zip(NAMES, attributes_of(person, scene), strict=True))
        assert len(values) == 40 and set(values.values()) <= {-1, 1}
        assert (values["Male"] == 1) == person.male
        assert (values["Eyeglasses"] == 1) == person.glasses
        colours = [values[f"{name}_Hair"] for name in ("Black", "Blond", "Brown", "Gray")]
        assert colours.count(1) <= 1
