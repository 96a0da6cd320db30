from pathlib import Path

import pytest
import torch

from mmsam_peft.engine.checkpoints import (
    names_only,
    newest_checkpoint,
    outdated_best,
    resolve_names,
)


def save(path: Path, epoch: int, iteration: int, **more) -> Path:
    torch.save(
        dict(
            meta=dict(epoch=epoch, iter=iteration),
            state_dict=dict(w=torch.zeros(1000)),
            optimizer={},
            message_hub={},
            **more,
        ),
        path,
    )
    return path


def test_the_newest_that_is_whole(tmp_path):
    good = save(tmp_path / 'epoch_9.pth', 9, 90)
    save(tmp_path / 'best_Dice_epoch_30.pth', 30, 300)
    save(tmp_path / 'mine.pth', 40, 400)
    assert newest_checkpoint(tmp_path) == (good, {})
    stopped = save(tmp_path / 'interrupted.pth', 9, 95)
    assert newest_checkpoint(tmp_path)[0] == stopped
    flipped = save(tmp_path / 'epoch_10.pth', 10, 100)
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    save(tmp_path / 'epoch_11.pth', 11, 110)
    short = (tmp_path / 'epoch_11.pth').read_bytes()
    (tmp_path / 'epoch_11.pth').write_bytes(short[: len(short) // 2])
    (tmp_path / 'epoch_12.pth').write_bytes(b'')
    (tmp_path / 'epoch_13.pth').mkdir()
    torch.save(dict(meta=dict(epoch=14, iter=140), state_dict={}), tmp_path / 'epoch_14.pth')
    save(tmp_path / 'epoch_15.pth', '15', 150)
    newest, faults = newest_checkpoint(tmp_path)
    assert newest == stopped and faults.keys() == {
        f'epoch_{number}.pth' for number in (10, 11, 12, 14, 15)
    }
    assert 'is damaged' in faults['epoch_10.pth'] and 'cannot be read' in faults['epoch_11.pth']
    assert (
        'no state of the optimizer' in faults['epoch_14.pth']
        and 'after which epoch' in faults['epoch_15.pth']
    )
    own = save(tmp_path / 'step-7.pth', 16, 160)
    assert newest_checkpoint(tmp_path, 'step-{}.pth')[0] == own
    assert newest_checkpoint(tmp_path / 'nothing') == (None, {})


def test_names_hold_in_another_folder_and_nowhere_else(tmp_path):
    for name in ('best_Dice_epoch_1.pth', 'epoch_1.pth', 'adapter_best_IoU.safetensors'):
        (tmp_path / name).touch()
    (tmp_path / 'best_folder.pth').mkdir()
    (tmp_path / 'best_link.pth').symlink_to('/etc/passwd')
    info = names_only(
        dict(
            best_ckpt='/elsewhere/best_Dice_epoch_1.pth', last_ckpt='/elsewhere/epoch_1.pth', seed=3
        ),
        tmp_path,
    )
    assert info == dict(best_ckpt='best_Dice_epoch_1.pth', last_ckpt='epoch_1.pth', seed=3)
    assert resolve_names(info, tmp_path) == []
    assert info == dict(
        best_ckpt=f'{tmp_path}/best_Dice_epoch_1.pth', last_ckpt=f'{tmp_path}/epoch_1.pth', seed=3
    )

    info = dict(
        best_ckpt_IoU='/elsewhere/best_IoU_epoch_1.pth',
        best_score_IoU=3.0,
        best_ckpt='epoch_1.pth',
        best_score=4.0,
        best_ckpt_a='best_folder.pth',
        best_ckpt_b='best_link.pth',
        best_ckpt_c=['x'],
        best_ckpt_d='..',
        best_score_e='high',
        best_score_f=float('nan'),
        best_score_g=torch.tensor(2.0),
        keep_ckpt_ids=[1, True],
        last_ckpt='/elsewhere/epoch_3.pth',
    )
    dropped = resolve_names(info, tmp_path)
    assert info == dict(
        best_score_IoU=3.0, best_score_g=2.0
    )  # the adapter that scored 3 is there: it is not to be replaced
    assert len(dropped) == 9
    assert resolve_names(dict(keep_ckpt_ids='../victim'), tmp_path) and not resolve_names(
        dict(keep_ckpt_ids=[1, 2]), tmp_path
    )


@pytest.mark.parametrize(
    'best, outdated',
    [('best_Dice_epoch_10.pth', ['best_Dice_epoch_9.pth']), ('best_IoU_epoch_9.pth', [])],
)
def test_best_checkpoints_that_were_replaced(tmp_path, best, outdated):
    for name in (
        'best_Dice_epoch_9.pth',
        'best_Dice_epoch_10.pth',
        'best_Dice_epoch_11.pth',
        'best_IoU_epoch_9.pth',
    ):
        (tmp_path / name).touch()
    assert outdated_best(tmp_path, tmp_path / best) == [tmp_path / name for name in outdated]
