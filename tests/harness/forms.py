"""Forms as browsers send them."""

from .raw import Endpoint, read_answer

BOUNDARY = "----browser7MA4YWxk"


def form(fields, file, boundary=BOUNDARY, name="file", filename="photo.jpg", behind="", closing=None):
    """The body that a browser makes of a form."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    closing = f"--{boundary}--\r\n" if closing is None else closing
    return "".join(parts).encode() + head.encode() + file + f"\r\n{behind}{closing}".encode()


def post(front, path, body, headers=None, boundary=BOUNDARY, step=None):
    """Sends a form; `step` cuts the body into pieces."""
    endpoint = Endpoint.of(front)
    head = {
        "host": endpoint.host,
        "content-type": f"multipart/form-data; boundary={boundary}",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    head = endpoint.head("POST", path, [], {name: value for name, value in head.items() if value is not None})
    if step is None:
        return endpoint.exchange(head + body, "POST")
    with endpoint.connect() as connection:
        connection.sendall(head)
        for start in range(0, len(body), step):
            connection.sendall(body[start : start + step])
        return read_answer(connection, "POST")
