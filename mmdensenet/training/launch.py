"""``torchrun`` with its workers' exit codes: ``python -m mmdensenet.training.launch [torchrun's arguments] SCRIPT ...``

torchrun ends with status 1 and a long traceback whatever a worker returned, or which signal it got itself. Here the
first failed worker's status is passed on, so that a user's mistake (2) reaches whoever called the script, and a signal
gives 128 plus its number.
"""

import logging
import os
import sys
import time

#: environment variable with the time at which a job was launched, the same after a restart of its workers
LAUNCH_TIME = 'MMDENSENET_LAUNCH_TIME'


def core_count() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def main(args: list[str] | None = None) -> int:
    # Elastic restarts with gloo hang or fail at the rendezvous without it (pytorch issue 135712). Must be set before
    # torch starts its agent.
    os.environ.setdefault('TORCH_DISABLE_SHARE_RDZV_TCP_STORE', '1')
    os.environ[LAUNCH_TIME] = str(time.time())
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    arguments = get_args_parser().parse_args(args)
    if arguments.nproc_per_node.isdigit():
        threads = max(1, core_count() // max(1, int(arguments.nproc_per_node)))
        for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
            os.environ.setdefault(name, str(threads))
    # its report of a failed worker repeats what is printed below
    logging.getLogger('torch.distributed.elastic.multiprocessing.api').setLevel(logging.CRITICAL)
    try:
        run(arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = failure.exitcode
        if status != 2:  # with 2 the worker has printed what is wrong
            what = f'was killed by signal {-status}' if status < 0 else f'ended with status {status}'
            print(f'rank {rank} {what}', file=sys.stderr)
        return status if status > 0 else 128 - status
    except SignalException as signalled:  # one for this process, which has passed it on to the workers and waited
        return 128 + signalled.sigval
    return 0


if __name__ == '__main__':
    sys.exit(main())
