"""What users told us and every host must know, as a versioned key-value space."""
