"""The exceptions for what a user can put right."""

import pickle

from mmdensenet.errors import BadImageError, UserError


def test_an_image_that_cannot_be_read_is_named():
    error = BadImageError.of('a b.jpg', 'cut off')
    assert isinstance(error, UserError)
    assert str(error) == 'a b.jpg cannot be read as an image: repair or remove it (cut off).'
    assert (error.path, error.reason) == ('a b.jpg', 'cut off')
    assert str(pickle.loads(pickle.dumps(error))) == str(error), 'from a worker the message is left'
