"""What the demo and the tests call with: simulated phones, tone detection, load, and stand-ins for what is outside.

Nothing in the product imports this package. The phones (``phone``) need the ``testing`` extra; load (``sipp``)
needs a SIPp binary.
"""
