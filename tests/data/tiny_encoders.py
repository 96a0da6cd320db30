"""Sizes of encoders that have every part of their family and take no time."""

TINY_SAM = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=32
)
TINY_SAM2 = dict(
    embed_dim=16,
    num_heads=1,
    stages=(1, 2, 3, 1),
    windows=(8, 4, 6, 3),
    global_attn_indexes=(4,),
    background=3,
    out_channels=32,
)
TINY_SAM3 = dict(
    embed_dim=32,
    depth=2,
    num_heads=2,
    global_attn_indexes=(1,),
    window_size=3,
    learnt_size=3,
    mlp_ratio=2,
    out_channels=32,
)
TINY_VIT = dict(
    embed_dims=(8, 16, 16, 32),
    depths=(1, 1, 1, 1),
    num_heads=(2, 2, 4),
    window_sizes=(3, 2, 3),
    out_channels=32,
)
