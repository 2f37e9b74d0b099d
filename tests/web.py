"""Requests to servers of the tests over HTTP, which may take long: httpx itself waits for five seconds."""

from functools import partial

import httpx

from tests.waiting import PATIENCE

get, head, post, patch, delete, Client = (
    partial(each, timeout=PATIENCE)
    for each in (httpx.get, httpx.head, httpx.post, httpx.patch, httpx.delete, httpx.Client)
)
