"""The encoders that come with this package, to try things out: trained class-agnostically on
generated objects (configs/pretrain/), and no SAM."""

from .variants import VARIANTS, Variant

VARIANTS.update(
    small=Variant(
        'the small model of the package, to try things out; not SAM, and much weaker',
        dict(
            type='SAMViT',
            arch=dict(
                embed_dim=128,
                depth=6,
                num_heads=4,
                window_size=8,
                global_attn_indexes=(2, 5),
                out_channels=128,
            ),
        ),
        'mmsam_peft://quickstart',
        image_size=256,
        least=256,
        head=dict(in_channels=128, num_heads=4, mlp_dim=256),
    ),
    small_hiera=Variant(
        'the small model of the package in the shape of SAM 2, to try things out',
        dict(
            type='Hiera',
            arch=dict(
                embed_dim=24,
                num_heads=1,
                stages=(1, 2, 3, 1),
                global_attn_indexes=(5,),
                windows=(8, 4, 8, 8),
                out_channels=128,
            ),
        ),
        'mmsam_peft://quickstart_hiera',
        image_size=256,
        least=256,
        patch=32,
        head=dict(in_channels=128, num_heads=4, mlp_dim=256, fine=True),
    ),
)
