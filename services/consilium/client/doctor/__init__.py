"""What `consilium doctor` looks at, a module a matter; each thing found says what to do next."""
