"""The batch APIs of providers, behind one interface: `base.BatchApi`."""
