"""Synthetic portraits with known ground truth, and the layouts of the released data sets around them.

people and scene draw from seeds; head, skin, hair and clothing shape and paint; render takes the picture;
celeba, three_hundred_w and celebamask_hq lay pictures out as released. OpenCV and numba are needed.
"""
