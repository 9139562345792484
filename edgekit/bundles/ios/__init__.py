"""Bundles for iOS apps: a Swift package with the model and a typed class for it."""

from edgekit.bundles.ios.bundle import bundle_ios

__all__ = ["bundle_ios"]
