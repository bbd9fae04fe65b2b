"""``torchrun`` with its workers' exit codes: ``python -m mmdensenet.training.launch [torchrun's arguments] SCRIPT ...``

torchrun ends with status 1 and a long traceback for any status of a worker and any signal. This module returns the
first failed worker's status, so that the caller sees a user's mistake (2), and 128 plus the number of a signal.
"""

import logging
import os
import sys
import time

#: environment variable with the launch time of a job, which restarted workers share
LAUNCH_TIME = 'MMDENSENET_LAUNCH_TIME'


def core_count() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def main(args: list[str] | None = None) -> int:
    # without it, elastic restarts with gloo hang or fail at the rendezvous (pytorch issue 135712); torch reads it when
    # the agent starts
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
    # torch's report of a failed worker repeats the line below
    logging.getLogger('torch.distributed.elastic.multiprocessing.api').setLevel(logging.CRITICAL)
    try:
        run(arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = failure.exitcode
        if status != 2:  # with 2 the worker has printed its error
            what = f'was killed by signal {-status}' if status < 0 else f'ended with status {status}'
            print(f'rank {rank} {what}', file=sys.stderr)
        return status if status > 0 else 128 - status
    except SignalException as signalled:  # sent to this process; torch has forwarded it to the workers and waited
        return 128 + signalled.sigval
    return 0


if __name__ == '__main__':
    sys.exit(main())
