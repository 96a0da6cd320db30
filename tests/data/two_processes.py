"""Two processes that know each other, for tests of training and evaluation in parallel."""

import multiprocessing
import os
import runpy
import traceback
from pathlib import Path

import torch


def run_in_two_processes(file: str, folder: Path, *arguments) -> None:
    """Calls ``worker(rank, folder, *arguments)`` of a test's file in each. They are forked from a
    process that has imported everything once, for all tests."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['mmsam_peft.apis.launch'])
    processes = [
        context.Process(target=_one_of_two, args=(rank, dict(os.environ), file, folder, *arguments))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    errors = [path.read_text() for path in sorted(folder.glob('error_*'))]
    assert [process.exitcode for process in processes] == [0, 0], '\n'.join(errors)


def _one_of_two(rank: int, variables: dict, file: str, folder: Path, *arguments) -> None:
    os.environ.clear()
    os.environ.update(variables)  # this test's, not those of the first that came here
    os.chdir(folder)  # where MMEngine exchanges results
    try:
        torch.distributed.init_process_group(
            'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
        )
        runpy.run_path(file)['worker'](rank, folder, *arguments)
        torch.distributed.destroy_process_group()
    except BaseException:
        (folder / f'error_{rank}').write_text(traceback.format_exc())
        raise
