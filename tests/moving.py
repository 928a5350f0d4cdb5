"""A panel, moved as in a browser."""


def moves(panel, **values):
    """Each of these values changes the picture, and no error is shown."""
    for name, value in values.items():
        before = bytes(panel.picture.value)
        panel.controls[name].value = value
        assert panel.wait() and panel.error is None and bytes(panel.picture.value) != before, name
