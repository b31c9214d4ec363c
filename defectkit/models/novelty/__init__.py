"""Networks that know good surfaces alone."""
