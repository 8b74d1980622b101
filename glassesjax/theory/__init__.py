"""The papers' statements as pure functions of arrays and numbers; none of them knows a model."""
