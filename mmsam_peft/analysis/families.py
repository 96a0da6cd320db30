"""What the folders of configs/ are, for the model zoo."""

from typing import NamedTuple


class Family(NamedTuple):
    """A folder of configs: what stands at its top, what it does, and where it was published."""

    title: str
    what: str = ''
    paper: str = ''
    url: str = ''


SAM = 'Segment Anything', 'https://arxiv.org/abs/2304.02643'
TALORA = (
    'Task-Aware Low-Rank Adaptation of Segment Anything Model',
    'https://arxiv.org/abs/2403.10971',
)
FAMILIES = dict(
    adapter=Family(
        'Adapter',
        'A bottleneck after the MLP of every block.',
        'Parameter-Efficient Transfer Learning for NLP',
        'https://arxiv.org/abs/1902.00751',
    ),
    adaptformer=Family(
        'AdaptFormer',
        'A bottleneck beside the MLP of every block.',
        'AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition',
        'https://arxiv.org/abs/2205.13535',
    ),
    bitfit=Family(
        'BitFit',
        'Trains the biases of the encoder.',
        'BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked '
        'Language-models',
        'https://arxiv.org/abs/2106.10199',
    ),
    convlora=Family(
        'Conv-LoRA',
        'LoRA with a mixture of convolutions at several scales in its bottleneck.',
        'Convolution Meets LoRA: Parameter Efficient Finetuning for Segment Anything Model',
        'https://arxiv.org/abs/2401.17868',
    ),
    decoder_only=Family('Decoder only', 'A frozen encoder under a trained mask decoder.', *SAM),
    deeplabv3plus=Family(
        'DeepLabV3+',
        "MMSegmentation's, with ResNet-50, to compare with.",
        'Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation',
        'https://arxiv.org/abs/1802.02611',
    ),
    dinov2=Family(
        'DINOv2 under a mask decoder',
        "LoRA in DINOv2, with SAM's mask decoder from random values. Any other config takes this "
        "encoder by encoder='dinov2_small' (docs/encoders.md).",
        'DINOv2: Learning Robust Visual Features without Supervision',
        'https://arxiv.org/abs/2304.07193',
    ),
    dinov3=Family(
        'DINOv3 under a mask decoder',
        "LoRA in DINOv3, with SAM's mask decoder from random values. Any other config takes this "
        "encoder by encoder='dinov3_vits16' (docs/encoders.md).",
        'DINOv3',
        'https://arxiv.org/abs/2508.10104',
    ),
    dora=Family(
        'DoRA',
        'LoRA on directions, with trained magnitudes.',
        'DoRA: Weight-Decomposed Low-Rank Adaptation',
        'https://arxiv.org/abs/2402.09353',
    ),
    fact=Family(
        'FacT',
        'Updates of all layers in one tensor decomposition.',
        'FacT: Factor-Tuning for Lightweight Adaptation on Vision Transformer',
        'https://arxiv.org/abs/2212.03145',
    ),
    from_scratch=Family('SAM from scratch', 'All of SAM, from random values.', *SAM),
    full=Family('Full fine-tuning', 'All of the encoder and the decoder.', *SAM),
    hf_peft=Family(
        "Hugging Face's PEFT",
        'Any tuner of the package peft that adapts linear layers; these configs use LoHa.',
        'PEFT: State-of-the-art Parameter-Efficient Fine-Tuning methods',
        'https://github.com/huggingface/peft',
    ),
    hrnet=Family(
        'HRNet',
        "MMSegmentation's HRNet-W18, to compare with.",
        'Deep High-Resolution Representation Learning for Visual Recognition',
        'https://arxiv.org/abs/1908.07919',
    ),
    lora=Family(
        'LoRA',
        'Low-rank updates of queries, keys and values.',
        'LoRA: Low-Rank Adaptation of Large Language Models',
        'https://arxiv.org/abs/2106.09685',
    ),
    lora_hps=Family('LoRA-HPS', 'One LoRA for all tasks, a decoder for each.', *TALORA),
    lora_stl=Family('LoRA-STL', 'A LoRA and a decoder for each task.', *TALORA),
    lst=Family(
        'LST',
        "A small network beside the encoder, which reads the encoder's maps.",
        'LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning',
        'https://arxiv.org/abs/2206.06522',
    ),
    mtlora=Family(
        'MTLoRA',
        'A LoRA that the tasks share and one for each.',
        'MTLoRA: A Low-Rank Adaptation Approach for Efficient Multi-Task Learning',
        'https://arxiv.org/abs/2403.20320',
    ),
    norm=Family('Norm tuning', "Trains the encoder's normalisation layers."),
    pretrain=Family('Pretraining', "How the quickstart's base weights were made."),
    pspnet=Family(
        'PSPNet',
        "MMSegmentation's, with ResNet-50, to compare with.",
        'Pyramid Scene Parsing Network',
        'https://arxiv.org/abs/1612.01105',
    ),
    sam_adapter=Family(
        'SAM-Adapter',
        "A prompt from the image's high frequencies, added before each block.",
        'SAM Fails to Segment Anything? SAM-Adapter: Adapting SAM in Underperformed Scenes',
        'https://arxiv.org/abs/2304.09148',
    ),
    segformer=Family(
        'SegFormer',
        "MMSegmentation's B0 and B2, to compare with.",
        'SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers',
        'https://arxiv.org/abs/2105.15203',
    ),
    ssf=Family(
        'SSF',
        'A scale and a shift after every linear layer and norm.',
        'Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning',
        'https://arxiv.org/abs/2210.08823',
    ),
    talora=Family(
        'TA-LoRA', "The tasks' updates of a layer as one Tucker-decomposed tensor.", *TALORA
    ),
    trans2seg=Family(
        'Trans2Seg',
        'A comparator for transparent objects.',
        'Segmenting Transparent Objects in the Wild with Transformer',
        'https://arxiv.org/abs/2101.08461',
    ),
    translab=Family(
        'TransLab',
        'A comparator for transparent objects.',
        'Segmenting Transparent Objects in the Wild',
        'https://arxiv.org/abs/2003.13948',
    ),
    upernet=Family(
        'UPerNet on Swin',
        "MMSegmentation's UPerNet on Swin-T, to compare with.",
        'Swin Transformer: Hierarchical Vision Transformer using Shifted Windows',
        'https://arxiv.org/abs/2103.14030',
    ),
    vpt=Family(
        'VPT',
        "Trained prompts beside the image's tokens in every block.",
        'Visual Prompt Tuning',
        'https://arxiv.org/abs/2203.12119',
    ),
)


def family(folder: str) -> Family:
    """A folder without an entry is called as it is."""
    return FAMILIES.get(folder, Family(folder))
