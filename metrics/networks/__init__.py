"""Feature networks: from images to the features that metrics compare."""

from metrics.networks.catalogue import NETWORKS, load_network
from metrics.networks.network import FeatureNetwork

__all__ = ["NETWORKS", "FeatureNetwork", "load_network"]
