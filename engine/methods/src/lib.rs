//! One file per adaptation method and the registry that lists them.
