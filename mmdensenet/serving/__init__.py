"""A model behind a local web page and a JSON interface; docs/ship.md."""

from mmdensenet.errors import UserError
from mmdensenet.extras import install_command

try:
    import fastapi  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise UserError(f'the server needs {error.name}. Run: {install_command("serve")}') from error

from .app import create_app
from .batcher import Batcher
from .predictor import Predictor
from .server import listen, serve
from .service import Settings

__all__ = ['Batcher', 'Predictor', 'Settings', 'create_app', 'listen', 'serve']
