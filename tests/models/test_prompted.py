"""Clicks, boxes and masks: SAM's numbers, and files with and without them."""

import pytest
import torch

from mmsam_peft.adapters.match import load_adapter, save_adapter
from mmsam_peft.apis.merging import merged_sam_state, verify_merge
from mmsam_peft.models import SAMMaskHead
from mmsam_peft.models.backbones.sam_keys import to_sam_keys
from mmsam_peft.models.prompt_encoders import Prompts

SIZES = dict(in_channels=32, num_heads=2, mlp_dim=64)
POINTS = torch.tensor([[[3.0, 4.0], [60.5, 11.0]], [[0.0, 0.0], [79.0, 79.0]]])
LABELS = torch.tensor([[1, 0], [1, -1]])
BOXES = torch.tensor([[2.0, 3.0, 40.0, 70.5], [0.0, 10.0, 79.0, 20.0]])
KINDS = {
    'points': dict(points=POINTS, labels=LABELS),
    'boxes': dict(boxes=BOXES),
    'points in boxes': dict(points=POINTS, labels=LABELS, boxes=BOXES),
    'masks': dict(masks=torch.linspace(-3, 3, 2 * 400).view(2, 1, 20, 20)),
    'all': dict(
        points=POINTS, labels=LABELS, boxes=BOXES, masks=torch.ones(2, 1, 20, 20).cumsum(2)
    ),
}


def prompts(image=(0, 1), points=None, labels=None, **others):
    number = len(image)
    return Prompts(
        image=torch.tensor(image),
        points=torch.zeros(number, 0, 2) if points is None else points,
        labels=torch.zeros(number, 0, dtype=torch.long) if labels is None else labels,
        **others,
    )


@pytest.fixture
def pair(sam):
    """segment-anything's model, and a head with its weights."""
    model = sam()
    head = SAMMaskHead(prompts=dict(train_encoder=True), **SIZES)
    head.load_sam(to_sam_keys(model.state_dict()), 'sam')
    return model, head


def of_sam(model, x, prompts, multimask):
    """Object after object, as segment-anything's own loop does."""
    masks, iou = [], []
    for n, image in enumerate(prompts.image.tolist()):
        one = slice(n, n + 1)
        points = (prompts.points[one], prompts.labels[one]) if prompts.points.shape[1] else None
        sparse, dense = model.prompt_encoder(
            points,
            None if prompts.boxes is None else prompts.boxes[one],
            None if prompts.masks is None else prompts.masks[one],
        )
        position = model.prompt_encoder.get_dense_pe()
        found = model.mask_decoder(x[image][None], position, sparse, dense, multimask)
        masks.append(found[0])
        iou.append(found[1])
    return torch.cat(masks), torch.cat(iou)


@pytest.mark.parametrize('images', [1, 2])
@pytest.mark.parametrize('kind', KINDS)
def test_the_fast_form(pair, kind, images, relative):
    _, head = pair
    x = (torch.randn(images, 32, 3, 5),)
    given = dict(KINDS[kind])
    if 'masks' in given:
        given['masks'] = torch.randn(2, 1, 12, 20)
    objects = prompts((0, images - 1), **given)
    plain = head.prompted(x, objects, True)
    with torch.no_grad():
        fast = head.prompted(x, objects, True)
    for ours, its in zip(fast, plain, strict=True):
        assert relative(ours, its) < 1e-5 and not ours.requires_grad and its.requires_grad


@pytest.mark.parametrize('multimask', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_sams_masks_and_gradients(pair, kind, multimask, relative):
    model, head = pair
    given = {name: value[[0, 1, 0]] for name, value in KINDS[kind].items()}
    objects = prompts((1, 0, 1), **given)  # two objects of one image
    x = torch.randn(2, 32, 5, 5)
    expected, found = (
        of_sam(model, x, objects, multimask),
        head.prompted((x,), objects, multimask),
    )
    assert found[0].shape == (3, 3 if multimask else 1, 20, 20)
    for ours, its in zip(found, expected, strict=True):
        assert relative(ours, its) < 1e-5
        (its.square().mean()).backward(retain_graph=True)
        (ours.square().mean()).backward(retain_graph=True)
    theirs = dict(to_sam_keys(dict(model.named_parameters())))
    compared = 0
    for name, parameter in head.named_parameters():
        key = f'mask_decoder.{name}'.replace('mask_decoder.prompt_encoder', 'prompt_encoder')
        grad = theirs[key].grad if key in theirs else None
        if parameter.grad is not None and grad is not None and grad.norm() > 1e-6:
            assert relative(parameter.grad, grad) < 1e-4, name
            compared += 1
    assert compared > 40


def test_a_map_of_another_shape(pair, relative):
    """Points are relative to the padded input, as the map's own positions are."""
    model, head = pair
    model.prompt_encoder.input_image_size = (48, 96)
    model.prompt_encoder.image_embedding_size = (3, 6)
    x, objects = torch.randn(2, 32, 3, 6), prompts(**KINDS['points'])
    for ours, its in zip(
        head.prompted((x,), objects), of_sam(model, x, objects, False), strict=True
    ):
        assert relative(ours, its) < 1e-5


def test_the_answer_without_a_prompt_stays(pair, batch):
    model, head = pair
    plain = SAMMaskHead(**SIZES)
    plain.load_sam(to_sam_keys(model.state_dict()), 'sam')
    x, (_, samples) = (torch.randn(2, 32, 5, 5),), batch(size=(80, 80))
    assert torch.equal(head(x), plain(x))
    assert head.loss(x, samples, {}) == plain.loss(x, samples, {})
    assert not plain.prompt_names and plain.state_dict().keys() < head.state_dict().keys()
    assert head.state_dict().keys() - plain.state_dict().keys() == head.prompt_names


def test_points_stay_exact_in_half_precision(pair):
    _, head = pair
    objects = prompts(**KINDS['points in boxes'])
    exact, _ = head.prompt_encoder(objects, head.pe_layer, (80, 80))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        tokens, _ = head.prompt_encoder(objects, head.pe_layer, (80, 80))
        head.prompted((torch.randn(2, 32, 5, 5),), objects)
    assert torch.equal(tokens, exact)


def test_what_is_trained():
    """What only prompts use, where they are trained; the prompt encoder where that is asked."""
    only = {'iou_prediction_head', 'prompt_encoder'}
    for given, loss, expected in (
        (True, None, set()),
        (True, {}, {'iou_prediction_head'}),
        (dict(train_encoder=True), {}, only),
    ):
        head = SAMMaskHead(prompts=given, loss_prompts=loss, **SIZES)
        names = {name.split('.')[0] for name, p in head.named_parameters() if p.requires_grad}
        assert names & {*only, 'no_mask_embed'} == expected and 'mask_tokens' in names


@pytest.fixture
def base(sam, tmp_path):
    path = tmp_path / 'sam.pth'
    torch.save(sam(64).state_dict(), path)
    return str(path)


@pytest.fixture
def model(segmentor, base):
    """``model(prompts, seed)``: trained by a LoRA on one base."""

    def build(prompts, seed=None, **changes):
        model = segmentor(
            dict(type='LoRA', rank=2), dict(prompts=prompts), **{'checkpoint': base, **changes}
        )
        model.init_weights()
        torch.manual_seed(seed or 0)
        for parameter in model.parameters():
            if seed and parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.1)
        return model.eval()

    return build


@torch.no_grad()
def answers(model):
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = model.extract_feat(image)
    found = [model.decode_head(maps)]
    if model.decode_head.has_prompts:
        found += model.decode_head.prompted(maps, prompts(**KINDS['points in boxes']), True)
    return found


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_files_with_prompts(model, tmp_path):
    trained, path = model(True, seed=1), tmp_path / 'adapter.safetensors'
    save_adapter(trained, path)
    for given in (True, dict(train_encoder=True)):
        again = model(given)
        load_adapter(again, path)
        assert same(answers(again), answers(trained))
    with pytest.raises(ValueError, match='another head: the file has prompts=True, this model pro'):
        load_adapter(model(None), path)


def test_files_without_prompts_in_a_model_with(model, tmp_path):
    """The prompts' weights are the base's, also where another file was in the model before."""
    trained, path = model(None, seed=1), tmp_path / 'adapter.safetensors'
    save_adapter(trained, path)
    base, again = model(True), model(True, seed=2)
    for one in (base, again):
        load_adapter(one, path)
    assert same(answers(base)[:1], answers(trained))
    assert same(answers(again), answers(base))
    fresh = model(True)
    for name in fresh.decode_head.prompt_names:
        assert torch.equal(
            base.decode_head.state_dict()[name], fresh.decode_head.state_dict()[name]
        )
    tokens = base.decode_head.mask_tokens.weight
    assert torch.equal(tokens[:1], trained.decode_head.mask_tokens.weight)
    assert torch.equal(tokens[1:], fresh.decode_head.mask_tokens.weight[1:])


def test_no_prompts_to_complete_a_file_with(model, sam, tmp_path):
    trained, path = model(None, seed=1), tmp_path / 'adapter.safetensors'
    save_adapter(trained, path)
    encoder = {k: v for k, v in sam(64).state_dict().items() if k.startswith('image_encoder.')}
    torch.save(encoder, tmp_path / 'encoder.pth')
    with pytest.raises(ValueError, match='trained without prompts, which this model has, and it'):
        load_adapter(model(True, checkpoint=str(tmp_path / 'encoder.pth')), path)


def test_base_weights_without_a_prompt_encoder(sam):
    state = {k: v for k, v in sam().state_dict().items() if 'point_embeddings' not in k}
    with pytest.raises(
        ValueError, match='sam.pth has a mask decoder, but lacks 4 .*prompt_encoder.point_embed'
    ):
        SAMMaskHead(prompts=True, **SIZES).load_sam(to_sam_keys(state), 'sam.pth')


def test_prompts_for_a_head_without(pair):
    x = (torch.randn(2, 32, 5, 5),)
    with pytest.raises(ValueError, match='answers without prompts only. Set model.decode_head.pro'):
        SAMMaskHead(**SIZES).prompted(x, prompts(**KINDS['boxes']))
    with pytest.raises(ValueError, match='prompts=True with num_queries=5: a prompt means one obj'):
        SAMMaskHead(num_classes=3, num_queries=5, prompts=True, **SIZES)
    _, head = pair
    with pytest.raises(ValueError, match='image: got 0 to 2, but the batch has the images 0 to 1'):
        head.prompted(x, prompts((0, 2), **KINDS['boxes']))
    with pytest.raises(ValueError, match=r'masks: got \(20, 24\) logits, expected \(20, 20\)'):
        head.prompted(x, prompts(masks=torch.zeros(2, 1, 20, 24)))


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(), 'neither points nor boxes nor masks'),
        (dict(points=POINTS), r'Prompts.labels: got \(2, 0\), expected \(N, P\)'),
        (dict(points=POINTS[0], labels=LABELS[0]), r'Prompts.points: got \(2, 2\), expected'),
        (dict(points=POINTS, labels=LABELS + 1), 'Prompts.labels: got 2; a point is on the object'),
        (dict(points=POINTS, labels=LABELS.float()), 'labels: got torch.float32, expected whole'),
        (dict(points=POINTS * float('nan'), labels=LABELS), 'Prompts.points: got NaN or infinite'),
        (dict(boxes=BOXES[:1]), r'Prompts.boxes: got \(1, 4\), expected \(N, 4\)'),
        (dict(boxes=BOXES[:, [2, 1, 0, 3]]), r'got \[40.0, 3.0, 2.0, 70.5\], which has no area'),
        (dict(boxes=BOXES / 0), 'Prompts.boxes: got NaN or infinite'),
        (dict(masks=torch.zeros(2, 20, 20)), r'masks: got \(2, 20, 20\), expected one map of logi'),
    ],
)
def test_wrong_prompts(wrong, message):
    with pytest.raises(ValueError, match=message):
        prompts(**wrong)


def test_merged_into_plain_sam(model, sam, relative):
    """segment-anything's own model, with the merged weights, answers prompts as ours does."""
    trained, plain = model(True, seed=1), sam(64)
    state = merged_sam_state(trained)
    plain.load_state_dict(state)
    verify_merge(trained, state)
    image, objects = torch.randn(2, 3, 64, 64), prompts(**KINDS['points in boxes'])
    with torch.no_grad():
        found = trained.decode_head.prompted(trained.extract_feat(image), objects, True)
        expected = of_sam(plain, plain.image_encoder(image), objects, True)
    for ours, its in zip(found, expected, strict=True):
        assert relative(ours, its) < 1e-5
