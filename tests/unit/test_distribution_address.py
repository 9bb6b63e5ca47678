"""What a person may write as the address of a registry."""

import pytest

from regkeeper.distribution import RegistryUrlError, registry_url


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://k8smaster:5000", "http://k8smaster:5000"),
        ("https://registry.example.com/", "https://registry.example.com"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_a_registry_url(text: str, origin: str) -> None:
    assert str(registry_url(text)) == origin


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k8smaster:5000", "has no scheme: write http://k8smaster:5000 or https://k8smaster:5000"),
        ("", "has no scheme"),
        ("ftp://host", "is not an http"),
        ("http://", "is not an http|not a URL"),
        ("http://host:99999", "not a URL"),
        ("http://host/v2/", "has a path: write http://host$"),
        ("http://me:s3cret@host", "user and password"),
    ],
)
def test_what_is_no_registry_url(text: str, message: str) -> None:
    with pytest.raises(RegistryUrlError, match=message) as caught:
        registry_url(text)
    assert "s3cret" not in str(caught.value)
