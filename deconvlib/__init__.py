"""Train image classifiers with deconvolution, and see in pixels what they have learned.

Six wings, in the order in which they may import one another: `data` (images and labels), `deconvnet` (activation ->
pixels, on any Keras model), `networks` (hyperparameters -> keras.Model), `training`, `experiments` (the papers', a file
each with its figure), and `lab` (all that knows Jupyter). Under them `backend`, `checks`,
`progress`, `figures`, and `allowed`: what each parameter may be.
This file imports nothing, since TensorFlow takes seconds.
"""
