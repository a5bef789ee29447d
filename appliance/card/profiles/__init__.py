"""Card profiles that ship with the appliance, as data."""
