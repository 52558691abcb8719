"""All kinds of data sets by the name that a config's `source` gives them: one file and one line each."""

from pipelines.sources import (
    celeba,
    celebamask_hq,
    ffhq,
    folder,
    multipie,
    three_hundred_w,
    uv_textures,
)

SOURCES = {
    "celeba": celeba.IN_THE_WILD,
    "celeba_aligned": celeba.ALIGNED,
    "celebamask_hq": celebamask_hq.SOURCE,
    "three_hundred_w": three_hundred_w.SOURCE,
    "multipie": multipie.ALL,
    "multipie_pose": multipie.POSE,
    "multipie_illumination": multipie.ILLUMINATION,
    "ffhq": ffhq.IMAGES,
    "ffhq_thumbnails": ffhq.THUMBNAILS,
    "folder": folder.SOURCE,
    "uv_textures": uv_textures.SOURCE,
}
