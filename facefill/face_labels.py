"""Labels of a photograph from its fit, for the stage `segment`: where mesh and colours leave no doubt.

The fit says which pixels show face, scalp, ears and neck if nothing hides them, and how skin looks there.
Skin is then what the mesh says it is; what covers the scalp and is not skin is hair or a hat, an occluder,
and so is what hangs together with it beside the mesh in the same colours, where the ground has others. What
has none of its colours is background. All else is UNKNOWN: glasses, hair before the face, outlines.
"""

from typing import Any

import torch
from torch import Tensor

from facefill.face_parsing import BACKGROUND, FACE, OCCLUDER, UNKNOWN
from facefill.face_region import face_texels
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit, fit_from_vector, reconstruct
from facefill.geometry.texture import coverage, render
from facefill.geometry.uv_atlas import UVAtlas
from facefill.landmarks import BROWS, JAW, NOSE

CHIN = JAW[8]

# Differences to skin in natural logarithms of the channels: their mean, and the length of what remains.
SKIN_BRIGHTNESS, SKIN_HUE = 0.3, 0.12
OTHER_BRIGHTNESS, OTHER_HUE = 0.5, 0.22
DARKEST = 0.02  # what is darker is noise
HAIR_SPREAD = 0.15  # least standard deviation of hair's logarithms
UNLIKE_HAIR = 4.0  # standard deviations, of four parts together: two is usual
HAIR_PIXELS = 100  # with fewer its colours are not known
LIKE_HAIR = 3.0
GROUND_SHARE = 0.5  # of the picture's sides unlike hair, or hair cannot be told from the ground
SIDE = 16  # pixels
REACH, STEPS = 5, 16  # hair is followed over gaps of so many pixels, so many times
FEATURE = 6  # pixels: half the height of eyes, brows and lips
OUTLINE_ERROR = 3  # pixels that an outline of the mesh may be off
BESIDE = 10  # pixels from the mesh where nothing is face any more


def with_labels(batch: dict[str, Any], model: MorphableModel, atlas: UVAtlas) -> dict[str, Any]:
    """The batch, where photographs that have no label at all, but a fit, get their `labels_from_fit`.

    parsing (N, H, W); fit (N, 261) in the pixels of `image`, NaN where a photograph has none, or absent.
    """
    if "fit" not in batch:
        return batch
    parsing = batch["parsing"]
    bare = (parsing == UNKNOWN).flatten(1).all(1) & batch["fit"].isfinite().all(1)
    if not bool(bare.any()):
        return batch
    parsing = parsing.clone()
    parsing[bare] = labels_from_fit(batch["image"][bare], fit_from_vector(batch["fit"][bare]), model, atlas)
    return batch | {"parsing": parsing}


@torch.no_grad()
def labels_from_fit(image: Tensor, fit: Fit, model: MorphableModel, atlas: UVAtlas) -> Tensor:
    """(N, H, W) int64: FACE, OCCLUDER, BACKGROUND or UNKNOWN.

    image (N, 3, H, W) in [0, 1], an aligned photograph in which nothing is masked; the fit is in its pixels.
    """
    mesh = reconstruct(fit, model, atlas, *image.shape[2:])
    texels = label_texels(model, atlas).expand(len(image), -1, -1, -1)
    drawn = render(torch.cat([texels, model.mean_albedo * mesh.shading], 1), mesh.fragments, model)
    inside = shrunk(drawn[:, :5] > 0.99, OUTLINE_ERROR)
    face, features, beard, scalp, outer = inside.split(1, 1)
    covered = coverage(mesh.fragments) > 0
    brightness, hue = difference_to_skin(image, drawn[:, 5:], face)
    as_skin = (brightness.abs() < SKIN_BRIGHTNESS) & (hue < SKIN_HUE)
    enclosed = features & shrunk(grown(face & as_skin, FEATURE), FEATURE)
    hair = scalp & shrunk((brightness.abs() > OTHER_BRIGHTNESS) | (hue > OTHER_HUE), 1)
    from_hair = distance_to_hair(image, hair)
    chin = mesh.projected[:, model.landmarks[CHIN], 1]
    above_chin = torch.arange(image.shape[2], device=image.device)[:, None] < chin[:, None, None, None]

    labels = torch.full_like(face, UNKNOWN, dtype=torch.int64)
    labels.masked_fill_(~grown(covered, BESIDE) & (from_hair > UNLIKE_HAIR), BACKGROUND)
    labels.masked_fill_(outer & as_skin, BACKGROUND)
    labels.masked_fill_(hair | beyond(hair, from_hair, ~covered & above_chin), OCCLUDER)
    labels.masked_fill_((face | scalp) & as_skin | enclosed, FACE)
    labels.masked_fill_(beard & (brightness < 0) & (hue < OTHER_HUE), FACE)
    return labels[:, 0]


def label_texels(model: MorphableModel, atlas: UVAtlas) -> Tensor:
    """(1, 5, 192, 256) float, 1 on the texels of the face region; on its part from the brows down; on its
    part below the nose, where what is dark is a beard; outside it, on what lies above the brows; and on ears
    and neck.
    """
    face = face_texels(model, atlas)[0, 0] > 0
    row = torch.arange(len(face), device=face.device)[:, None]
    landmark_row = model.uv[model.landmarks, 1]
    rest = atlas.face & ~face
    below_nose = face & (row > landmark_row[list(NOSE)].max())
    top = landmark_row[list(BROWS)].min()
    above_brows = rest & (row < top)
    below_ears = rest & (row > landmark_row[[JAW[0], JAW[-1]]].mean())
    return torch.stack([face, face & (row >= top), below_nose, above_brows, below_ears]).float()[None]


def difference_to_skin(image: Tensor, skin: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 1, H, W) brightness (signed) and hue of each pixel against the drawn skin (N, 3, H, W), whose tone
    is set so that the median over `face` (N, 1, H, W) is 0.
    """
    ratio = image.clamp_min(DARKEST).log() - skin.clamp_min(DARKEST).log()
    on_face = torch.where(face, ratio, torch.nan).flatten(2)
    ratio = ratio - on_face.nanmedian(2).values.nan_to_num()[..., None, None]
    brightness = ratio.mean(1, keepdim=True)
    return brightness, (ratio - brightness).square().sum(1, keepdim=True).sqrt()


def distance_to_hair(image: Tensor, hair: Tensor) -> Tensor:
    """(N, 1, H, W) how many standard deviations a colour is off those under `hair` (N, 1, H, W); nan where
    it is too small.
    """
    count = hair.sum((2, 3), keepdim=True)
    colour = image.clamp_min(DARKEST).log()
    off = colour - (colour * hair).sum((2, 3), keepdim=True) / count
    brightness = off.mean(1, keepdim=True)
    parts = torch.cat([brightness, off - brightness], 1)
    spread = ((parts.square() * hair).sum((2, 3), keepdim=True) / count).sqrt().clamp_min(HAIR_SPREAD)
    distance = (parts / spread).square().sum(1, keepdim=True).sqrt()
    return torch.where(count >= HAIR_PIXELS, distance, torch.nan)


def beyond(hair: Tensor, distance: Tensor, where: Tensor) -> Tensor:
    """(N, 1, H, W) bool: what hangs together with `hair` in its colours within `where`; nothing of a picture
    whose ground has those colours.
    """
    sides = torch.cat([distance[..., :SIDE], distance[..., -SIDE:]], 3)[:, :, : distance.shape[2] // 2]
    apart = (sides > UNLIKE_HAIR).float().mean((1, 2, 3), keepdim=True) > GROUND_SHARE
    like = (distance < LIKE_HAIR) & where & apart
    found = hair
    for _ in range(STEPS):
        found = hair | (grown(found, REACH) & like)
    return shrunk(found & like, 1)


def grown(mask: Tensor, pixels: int) -> Tensor:  # (N, C, H, W) bool
    """The mask with all that lies within a square of that radius."""
    for axis in (2, 3):
        reached = 0
        while reached < pixels:  # shifts add up, in a tenth of the time of pooling; larger ones miss borders
            shift = min(pixels - reached, reached + 1)
            rest = mask.shape[axis] - shift
            wider = mask.clone()
            wider.narrow(axis, shift, rest).logical_or_(mask.narrow(axis, 0, rest))
            wider.narrow(axis, 0, rest).logical_or_(mask.narrow(axis, shift, rest))
            mask, reached = wider, reached + shift
    return mask


def shrunk(mask: Tensor, pixels: int) -> Tensor:  # (N, C, H, W) bool
    """The mask without what lies that near to its outline; the picture's border is none."""
    return ~grown(~mask, pixels)
