"""A local server that answers as Stripe and Kaspi do, for development, tests and demonstrations.

It stands alone: nothing here imports the rest of the package, and the rest reaches it over HTTP only.
`procomp_pay.sandbox.app` holds `Sandbox` and `SandboxOptions`; they are not imported here, so that
`import procomp_pay.sandbox` costs nothing.
"""
