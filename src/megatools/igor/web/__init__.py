"""The page, the API over HTTPS and the figures for Prometheus; `igor web` serves them."""
