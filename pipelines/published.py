"""What the paper says it reached, to stand beside our own numbers and never in one table with them.

Dey & Boddeti, "3DFaceFill: An Analysis-By-Synthesis Approach to Face Completion", WACV 2022, Fig. 4 (d):
average over all masks, whole image.
"""

SOURCE = "Dey & Boddeti, WACV 2022 (arXiv 2110.10395), Fig. 4 (d): average over all masks, whole image"
CAVEAT = (
    "Not comparable with the numbers above: other photographs, other masks (never published), and a PSNR "
    "whose code in the authors' release stretches every batch of images to its own range."
)
METHODS = ("GFC", "SymmFC", "DeepFillv2", "PIC", "3DFaceFill")

# (dataset, metric) -> one value per method
TABLE = {
    ("CelebA", "PSNR"): (27.0298, 25.8817, 28.2097, 28.1262, 30.4917),
    ("CelebA", "SSIM"): (0.9257, 0.9273, 0.9356, 0.9424, 0.9521),
    ("CelebA", "LPIPS"): (0.1134, 0.0537, 0.0499, 0.0362, 0.0326),
    ("CelebA-HQ", "PSNR"): (25.5836, 25.6203, 27.9885, 27.7020, 29.9398),
    ("CelebA-HQ", "SSIM"): (0.8895, 0.9232, 0.9311, 0.9380, 0.9492),
    ("CelebA-HQ", "LPIPS"): (0.1076, 0.0535, 0.0394, 0.0376, 0.0365),
    ("MultiPIE", "PSNR"): (25.3805, 25.1280, 26.8225, 26.5574, 28.7515),
    ("MultiPIE", "SSIM"): (0.9127, 0.9266, 0.9391, 0.9397, 0.9553),
    ("MultiPIE", "LPIPS"): (0.0798, 0.0645, 0.0577, 0.0472, 0.0436),
}
