"""CelebA's forty attributes of a synthetic portrait, 1 or -1: known ones are true, others are -1."""

import numpy as np

from facefill.synthetic import hair as styles
from facefill.synthetic.people import Person
from facefill.synthetic.scene import Scene

NAMES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby",
    "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male",
    "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose",
    "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair",
    "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip


def attributes_of(person: Person, scene: Scene) -> list[int]:
    """Values of `NAMES` for one picture."""
    red, green, blue = (float(value) for value in person.hair_colour)
    brightness = (red + green + blue) / 3
    colourful = (max(red, green, blue) - min(red, green, blue)) / max(brightness, 1e-3)
    bald = person.hair.name == styles.BALD.name
    grey = brightness > 0.35 and colourful < 0.25
    true = {
        "5_o_Clock_Shadow": 0.08 < person.beard < 0.35,
        "Bags_Under_Eyes": person.age > 0.6,
        "Bald": bald,
        "Bangs": person.hair.name == styles.FRINGE.name,
        "Black_Hair": not bald and brightness < 0.13,
        "Blond_Hair": not bald and not grey and brightness > 0.42,
        "Brown_Hair": not bald and not grey and 0.13 <= brightness <= 0.42,
        "Bushy_Eyebrows": person.brow_thickness > 1.35,
        "Eyeglasses": person.glasses or scene.glasses,
        "Gray_Hair": not bald and grey,
        "Heavy_Makeup": person.eye_paint > 0.5 and person.lip_paint > 0.5,
        "Male": person.male,
        "Mouth_Slightly_Open": scene.mouth_open,
        "Mustache": person.moustache > 0.5,
        "No_Beard": person.beard < 0.35,
        "Pale_Skin": person.darkness < 0.08,
        "Rosy_Cheeks": person.flush > 0.8,
        "Smiling": scene.smiling,
        "Straight_Hair": not bald and person.hair.wave < 5e3,
        "Wavy_Hair": person.hair.wave >= 5e3,
        "Wearing_Hat": scene.hat,
        "Wearing_Lipstick": person.lip_paint > 0.5,
        "Young": person.age < 0.5,
    }
    return np.where([true.get(name, False) for name in NAMES], 1, -1).tolist()
