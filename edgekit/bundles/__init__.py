"""A folder that goes into a product, and the check that it is still what it was.

One module a kind of bundle (`linux`, `android`, `ios`); what all kinds have is in `making`,
`contents` and `manifest`.
"""

from __future__ import annotations

from edgekit.bundles.android import Delivery, bundle_android
from edgekit.bundles.contents import About
from edgekit.bundles.ios import bundle_ios
from edgekit.bundles.linux import bundle_linux, package_linux
from edgekit.bundles.making import Bundle
from edgekit.bundles.manifest import Manifest
from edgekit.bundles.signing import Signer, Trust, make_key
from edgekit.bundles.verify import Finding, Inspection, inspect_bundle, verify_bundle

__all__ = [
    "About",
    "Bundle",
    "Delivery",
    "Finding",
    "Inspection",
    "Manifest",
    "Signer",
    "Trust",
    "bundle_android",
    "bundle_ios",
    "bundle_linux",
    "inspect_bundle",
    "make_key",
    "package_linux",
    "verify_bundle",
]
