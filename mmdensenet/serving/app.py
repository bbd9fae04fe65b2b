"""The web application: a page, and its JSON interface."""

import html
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from importlib.resources import files

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from mmdensenet.version import __version__

from .batcher import ClosedError
from .guard import Guard
from .images import RefusedRequestError
from .predictor import Predictor
from .requests import discard_body, read_body, while_connected
from .service import Service, Settings

logger = logging.getLogger(__name__)

STATIC = {'page.html': 'text/html', 'page.css': 'text/css', 'page.js': 'text/javascript'}
#: link checkers and proxies send HEAD
READ = ('GET', 'HEAD')
#: the status of a request whose client has disconnected; nobody reads it
CLIENT_LEFT = 499


def create_app(predictor: Predictor, settings: Settings | None = None, model_thread: Executor | None = None) -> FastAPI:
    """The application, for any ASGI server; :func:`mmdensenet.serving.serve` runs it with uvicorn.

    ``GET /`` is the page, ``POST /predict`` takes the content of an image file, ``GET /health`` reports its state.

    Args:
        predictor: the model.
        settings: how the server works; by default :class:`Settings`'.
        model_thread: the :class:`Service`'s, in which the model computes.
    """
    settings = settings or Settings()
    service = Service(predictor, settings, model_thread)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    root = settings.root_path
    # FastAPI's interactive documentation loads scripts from other servers
    app = FastAPI(title='mmdensenet', version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(Guard, names=settings.allowed_hosts, any_address=settings.any_address, proxies=settings.proxies)
    if root:
        app.add_middleware(Below, path=root)
    contents = {name: files(__package__).joinpath('static', name).read_bytes() for name in STATIC}

    contents['page.html'] = contents['page.html'].replace(b'{root}', html.escape(root).encode())

    @app.api_route('/', methods=READ, include_in_schema=False)
    async def page() -> Response:
        return Response(contents['page.html'], media_type='text/html')

    @app.api_route('/static/{name}', methods=READ, include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in contents:
            raise HTTPException(404)
        return Response(contents[name], media_type=STATIC[name])

    @app.head('/health', include_in_schema=False)
    @app.get('/health')
    async def health() -> JSONResponse:
        """Whether the server takes requests (200, else 503), what it has answered, and how fast."""
        return JSONResponse(service.health(), 503 if service.stopping else 200)

    @app.head('/model', include_in_schema=False)
    @app.get('/model')
    async def model() -> JSONResponse:
        """What is served, and within which limits."""
        return JSONResponse(service.about())

    image = {'requestBody': {'required': True, 'content': {'image/*': {'schema': {'type': 'string'}}}}}

    @app.post('/predict', openapi_extra=image)
    async def predict(
        request: Request,
        topk: int = Query(settings.topk, ge=1, description='how many classes'),
        cam: str | None = Query(None, description="'top' or a class's number: add its Grad-CAM"),
    ) -> Response:
        """The best classes of the image file that is the request's body."""
        start = time.monotonic()
        response = await _guarded(service, request, topk, cam)
        if response.status_code == CLIENT_LEFT:
            service.metrics.abandoned += 1
        else:
            service.metrics.responses[response.status_code] += 1
        if response.status_code == 200:
            service.metrics.seconds.append(time.monotonic() - start)
        return response

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({'error': str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        service.metrics.responses[422] += 1
        return JSONResponse({'error': f'{first["loc"][-1]}: {first["msg"]}.'}, 422)

    return app


async def _guarded(service: Service, request: Request, topk: int, cam: str | None) -> Response:
    """The response to a request for a prediction, also when it is refused or fails."""
    try:
        with service.place():
            wanted = _class_of(service, cam)
            content = await read_body(request, service.settings)
            answer = await while_connected(request, service.answer(content, topk, wanted))
            return JSONResponse(answer)
    except RefusedRequestError as error:
        refused = error
    except ClosedError:
        refused = RefusedRequestError(503, 'The server is stopping.', {'Retry-After': '30'})
    except ClientDisconnect:
        return Response(status_code=CLIENT_LEFT)
    except Exception:
        logger.exception('a request failed')
        refused = RefusedRequestError(500, 'The server failed; its log has the reason.')
    await discard_body(request, service.settings)
    return JSONResponse({'error': refused.message}, refused.status, refused.headers)


def _class_of(service: Service, cam: str | None) -> int | str | None:
    if cam is None:
        return None
    if service.predictor.no_cam is not None:
        raise RefusedRequestError(422, service.predictor.no_cam)
    if cam == 'top':
        return cam
    if not cam.isdecimal() or len(cam) > 9:
        raise RefusedRequestError(422, f"cam={cam[:20]}: give 'top' or the number of a class.")
    return int(cam)


class Below:
    """Sets the path at which a proxy shows the app; FastAPI's own argument for it is deprecated."""

    def __init__(self, app: ASGIApp, path: str):
        self.app, self.path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, 'root_path': self.path}, receive, send)
