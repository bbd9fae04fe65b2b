"""Time of exported files: the plain torch.onnx export of the model, the folded one, and the one in 8-bit integers.

    python -m benchmarks.export --model densenet121 --size 224 --batch 1 16
    python -m benchmarks.export --model densenet-bc-l40-k12 --size 32

Each file and runtime is a job in a process of its own, and they take turns: a turn is long enough for several steps, of
which the first, after those of other processes, is not counted. Weights are random, with the running statistics of
random images: times hardly depend on values. The plain file is what torch.onnx.export makes of the unfolded model,
whose optimiser already folds norms that follow a convolution; both runtimes read it. Beside them runs the model itself,
in PyTorch, with our C++ kernels where they are built. Files are kept in ``--files``.
"""

import argparse
from functools import partial
from importlib import metadata
from pathlib import Path

from .machine import MATRIX_PRODUCT, core_count, matrix_product
from .measure import Job, Workload, take_turns
from .report import RESULTS, append_rows, provenance, quartiles, text_table, timing

CSV = RESULTS / 'export.csv'
RUNTIMES = {'onnxruntime': '.onnx', 'openvino': '.xml'}
FILES = ('plain', 'folded', 'int8')


def write_files(name: str, size: int, batch: int, folder: Path) -> None:
    """Write the files of a model that do not exist yet."""
    import onnx
    import openvino
    import torch

    from mmdensenet.apis import get_model
    from mmdensenet.export.files import to_onnx
    from mmdensenet.export.fold import ScoresOf, folded
    from mmdensenet.export.graph import inference_graph
    from mmdensenet.export.int8 import calibrate
    from mmdensenet.export.int8_onnx import int8_onnx
    from mmdensenet.export.int8_openvino import int8_openvino

    files = {(what, to): path_of(folder, name, size, batch, what, to) for what in FILES for to in RUNTIMES}
    if all(path.is_file() for path in files.values()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = get_model(name)
    channels = model.backbone.stem[0].in_channels
    _give_statistics(model, torch.randn(4, channels, size, size))
    example = torch.zeros(batch, channels, size, size)

    def save_xml(graph, path: Path) -> None:
        openvino.save_model(graph, path, compress_to_fp16=False)

    onnx.save(to_onnx(ScoresOf(model).eval(), example), str(files['plain', 'onnxruntime']))
    onnx.save(to_onnx(inference_graph(model, 'onnx'), example), str(files['folded', 'onnxruntime']))
    between = folder / 'between.onnx'
    onnx.save(to_onnx(inference_graph(model, 'openvino'), example), str(between))
    save_xml(openvino.convert_model(between), files['folded', 'openvino'])
    between.unlink()
    graph = folded(model)
    arguments = graph, calibrate(graph.backbone, [torch.randn(4, channels, size, size)]), batch, (size, size)
    onnx.save(int8_onnx(*arguments), str(files['int8', 'onnxruntime']))
    save_xml(int8_openvino(*arguments), files['int8', 'openvino'])


def _give_statistics(model, images) -> None:
    """Norms as of a trained network: all features pass, none alike."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of all batches
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.normal_(0, 0.3)
    with torch.no_grad():
        model.train()
        model(images)
        model.eval()


def path_of(folder: Path, name: str, size: int, batch: int, what: str, runtime: str) -> Path:
    suffix = '.onnx' if what == 'plain' else RUNTIMES[runtime]
    return folder / f'{name}-{size}-{batch}-{what}{suffix}'


def prepare(path: Path, runtime: str, shape: tuple[int, ...], threads: int) -> Workload:
    """One batch through a file, from array to array."""
    import numpy as np

    if runtime == 'onnxruntime':
        from mmdensenet.export.runtime import open_file

        run = open_file(path, threads)[1]()
    else:
        run = _openvino(path, threads)
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Workload(lambda: run(images))


def _openvino(path: Path, threads: int):
    """Return a function that runs an .xml or .onnx file with the settings of mmdensenet's runtime."""
    import openvino

    properties = {'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_NUM_THREADS': threads}
    request = openvino.Core().compile_model(path, 'CPU', properties).create_infer_request()
    return lambda images: request.infer({0: images})[0].copy()


def prepare_model(name: str, shape: tuple[int, ...]) -> Workload:
    """One batch through the model itself, from array to array."""
    import numpy as np
    import torch

    from mmdensenet.apis import get_model
    from mmdensenet.export.fold import ScoresOf

    model = ScoresOf(get_model(name)).eval()
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(images)).numpy()

    return Workload(run)


def measure(args: argparse.Namespace, batch: int) -> list[dict]:
    origin = provenance('cpu', args.threads)
    write_files(args.model, args.size, batch, args.files)
    shape = (batch, args.channels, args.size, args.size)
    jobs = {
        (runtime, what): Job(
            partial(
                prepare, path_of(args.files, args.model, args.size, batch, what, runtime), runtime, shape, args.threads
            )
        )
        for runtime in args.runtime
        for what in FILES
    }
    jobs['torch', 'model'] = Job(partial(prepare_model, args.model, shape))
    jobs['', MATRIX_PRODUCT] = Job(partial(matrix_product, 'cpu', 'fp32'))
    rows = []
    measured = take_turns(jobs, args.rounds, args.threads, args.turn_seconds)
    machine = measured.pop(('', MATRIX_PRODUCT))
    gflops = machine.facts['flops'] / quartiles(machine.seconds)[1] / 1e9
    for (runtime, what), m in measured.items():
        rows.append(
            origin
            | dict(runtime=runtime, runtime_version=metadata.version(runtime))
            | dict(model=args.model, size=args.size, batch=batch, file=what)
            | timing(m.seconds)
            | dict(machine_gflops=gflops)
        )
    return rows


def show(rows: list[dict]) -> None:
    """A line for each file, with its time and how it compares to the plain and the folded file of the same runtime."""
    median = {(row['runtime'], row['batch'], row['file']): row['seconds_median'] for row in rows}
    lines = []
    for row in rows:
        key = row['runtime'], row['batch']
        ratios = [
            f'{row["seconds_median"] / median[(*key, other)]:.3f}' if (*key, other) in median else ''
            for other in ('plain', 'folded')
        ]
        milliseconds = [f'{row[f"seconds_{q}"] * 1e3:.2f}' for q in ('median', 'q25', 'q75')]
        lines.append([f'{row["runtime"]} {row["file"]}', str(row['batch']), *milliseconds, *ratios])
    print(text_table(('file', 'batch', 'ms', 'q25', 'q75', 'of plain', 'of folded'), lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.export', description='Time of exported files, beside the plain torch.onnx export.'
    )
    add = parser.add_argument
    add('--model', default='densenet121', help='a name of the model zoo')
    add('--size', type=int, default=224, help='height and width of the images')
    add('--channels', type=int, default=3)
    add('--batch', type=int, nargs='+', default=[1, 16])
    add('--runtime', nargs='+', choices=RUNTIMES, default=list(RUNTIMES))
    add('--rounds', type=int, default=9, help='turns of each file')
    add('--turn-seconds', type=float, default=2.0, help='a turn has as many steps as fit, at least one')
    add('--threads', type=int, default=core_count())
    add('--files', type=Path, default=Path('work_dirs/export_bench'))
    add('--csv', type=Path, default=CSV)
    add('--write-only', action='store_true', help='only write the files')
    args = parser.parse_args()
    rows = []
    for batch in args.batch:
        if args.write_only:
            write_files(args.model, args.size, batch, args.files)
        else:
            rows += measure(args, batch)
    if rows:
        append_rows(rows, args.csv)
        show(rows)


if __name__ == '__main__':
    main()
