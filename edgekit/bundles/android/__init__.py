"""Bundles for Android apps: a Gradle module, an .aar, and a typed Java class for each model."""

from edgekit.bundles.android.bundle import Delivery, bundle_android

__all__ = ["Delivery", "bundle_android"]
