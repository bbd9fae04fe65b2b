"""Serve a model on a local web page to drop images on, and as JSON."""

import argparse

from .shared import add_debug

NEEDS = 'mmdensenet.serving'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument('model', metavar='MODEL', help='config file, name such as densenet121, or exported file')
    parser.add_argument('--checkpoint', help="file or URL in any layout; without it the model zoo's weights")
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on; 0.0.0.0 lets other machines in')
    parser.add_argument('--port', type=int, default=8000, help='0 takes a free one')
    parser.add_argument('--allow-host', action='append', default=[], metavar='NAME', help='another name of this server')
    parser.add_argument(
        '--trusted-host', action='append', default=[], metavar='ADDRESS', help='of a proxy whose X-Forwarded-* is true'
    )
    parser.add_argument('--root-path', default='', metavar='PATH', help='below which a proxy shows this server')
    parser.add_argument('--topk', type=int, default=5, metavar='K', help='classes of an answer')
    parser.add_argument('--batch-size', type=int, default=16, metavar='N', help='images of one forward pass at most')
    parser.add_argument('--max-wait', type=float, default=5, metavar='MS', help='that a batch waits to fill')
    parser.add_argument('--max-queue', type=int, default=128, metavar='N', help='requests in work; more get 503')
    parser.add_argument('--max-upload', type=float, default=10, metavar='MIB', help='size of an image file')
    parser.add_argument('--max-pixels', type=int, default=50_000_000, metavar='N', help='width times height')
    parser.add_argument(
        '--max-input', type=int, default=1 << 18, metavar='N', help='the same, of a model that does not resize'
    )
    parser.add_argument('--threads', type=int, default=2, metavar='N', help='that read and prepare images')
    parser.add_argument('--device', help='cpu, cuda, cuda:1; without it the GPU if there is one')
    add_debug(parser)
    parser.instead = {'--config': 'A config is MODEL here.', '--weights': 'Weights are --checkpoint.'}


def run(args: argparse.Namespace) -> None:
    import ipaddress
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from mmdensenet.apis import open_inferencer
    from mmdensenet.apis.summary import summarise
    from mmdensenet.errors import UserError
    from mmdensenet.serving import Predictor, Settings, create_app, listen, serve
    from mmdensenet.serving.server import is_local, names_of, url_of
    from mmdensenet.terminal import waiting

    for name in ('topk', 'batch_size', 'max_queue', 'max_upload', 'max_pixels', 'max_input', 'threads'):
        if getattr(args, name) <= 0:
            raise UserError(f'--{name.replace("_", "-")} {getattr(args, name)}: give more than 0.')
    if args.max_wait < 0:
        raise UserError(f'--max-wait {args.max_wait}: give 0 or more.')
    root_path = args.root_path.rstrip('/')
    if root_path and not root_path.startswith('/'):
        raise UserError(f'--root-path {args.root_path}: begin with /, as in /densenet.')
    for address in args.trusted_host:
        try:
            ipaddress.ip_network(address)
        except ValueError as error:
            raise UserError(f'--trusted-host {address}: give an IP address or a network, as 10.0.0.0/8.') from error

    def opened() -> Predictor:
        inferencer = open_inferencer(args.model, args.checkpoint, args.device)
        predictor = Predictor(inferencer, args.max_pixels, args.max_input)
        predictor.warm_up()  # in the server's start a file that cannot run would be a traceback
        return predictor

    listening = listen(args.host, args.port)
    with listening:
        # one thread computes: a second one would have OpenMP threads of its own, more than cores, which slows both
        model_thread = ThreadPoolExecutor(1, thread_name_prefix='model')
        with waiting('loading the model and running it once'):
            predictor = model_thread.submit(opened).result()
        if hasattr(predictor.inferencer.model, '_config'):  # an exported file is no model
            summarise(predictor.inferencer.model, args.checkpoint)
        settings = Settings(
            name=Path(args.model).stem if '/' in args.model else args.model,
            topk=args.topk,
            max_batch=args.batch_size,
            max_wait=args.max_wait / 1000,
            max_queue=args.max_queue,
            max_bytes=int(args.max_upload * 2**20),
            threads=args.threads,
            allowed_hosts=(*names_of(listening), *args.allow_host),
            any_address=not is_local(listening),
            root_path=root_path,
            proxies=tuple(args.trusted_host),
        )
        print(f'Serving {settings.name} at {url_of(listening)} (Ctrl-C ends it)', flush=True)
        serve(create_app(predictor, settings, model_thread), listening)
