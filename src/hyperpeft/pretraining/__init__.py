"""Pretraining: masked autoencoding and few-label episodes."""
