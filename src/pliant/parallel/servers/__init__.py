"""The parameter server: dense parameters and optimizer state in slots, held by processes that compute no gradients."""
