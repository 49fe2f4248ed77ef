//! Differentiable operations, frozen weights, adapters' slots, parameters, generators and optimisers.
