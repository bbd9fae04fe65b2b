"""Bodies are read within limits."""


def test_a_body_without_a_length_is_limited_too(open_client):
    response = open_client(max_bytes=1000).post('/predict', content=(bytes(100) for _ in range(50)))
    assert response.request.headers['transfer-encoding'] == 'chunked'
    assert response.status_code == 413
