"""Train image classifiers with deconvolution, and see in pixels what they have learned."""
