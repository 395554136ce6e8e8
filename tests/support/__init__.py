"""What several test folders share: an ASGI client and a gateway over fakes."""
