apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {chart: web-2.0.0}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: {{ .Values.image }}
          command: [sleep, infinity]
