"""The five networks of the paper (supplementary, Tables 3-7, misprints repaired).

Images and albedo enter and leave in [0, 1]; a network that wants [-1, 1] converts inside itself.
`width` scales every hidden channel count; at 1.0 the parameter counts are the paper's.
"""
