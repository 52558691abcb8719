"""The paper's loss terms (supplementary 4.2; the inpainter's as in the authors' release), each one scalar.

Albedo, texture and images are in [0, 1]; a mask is 1 where the term counts. A mean over a mask counts every
masked pixel of the batch alike and is 0 where the mask is empty.
"""
