"""Solvers on feature matrices: logistic regression paths, ridge regression, nearest neighbours."""
